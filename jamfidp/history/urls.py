from django.urls import path

from jamfidp.history import views

app_name = "history"
urlpatterns = [
    path("activity/history/", views.history_list, name="list"),
]
