from django.urls import path

from jamfidp.notices import views

app_name = "notices"
urlpatterns = [
    path("notices/", views.notice_list, name="list"),
    path("notices/read/", views.notices_read, name="all-read"),
    path("notices/<int:pk>/read/", views.notice_read, name="read"),
    path("account/notifications/", views.preferences, name="preferences"),
    path("settings/notifications/", views.settings, name="settings"),
    path("settings/notifications/save/", views.settings_save, name="settings-save"),
    path("settings/notifications/test/", views.test_mail, name="test-mail"),
]
